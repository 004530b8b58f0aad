"""English sentences that do not repeat, out of word lists and numbers."""

_WHO = """the tall captain|my younger sister|a patient teacher|the village baker|our
new neighbor|the old gardener|a nervous student|the chief engineer|his favorite
uncle|the quiet librarian|a travelling musician|the night nurse|her former partner|the
young pilot|an honest lawyer|the busy waiter|a famous painter|the tired farmer"""
_DID = """counted|carried away|painted|bought|forgot|described|repaired|photographed|
delivered|borrowed|threw out|washed|sold|measured|hid|noticed|collected|shared"""
_HOW = """green|wooden|broken|heavy|silver|ordinary|dusty|French|yellow|enormous|
cheap|purple|fragile|hidden|foreign|round|sharp|velvet"""
_WHAT = """bottles|chairs|umbrellas|letters|bicycles|oranges|jackets|guitars|
photographs|blankets|machines|shoes|mirrors|envelopes|watches|potatoes|fishing
boats|keyboards"""
_WHERE = """near the harbour|behind the church|in the garden|under the bridge|at the
airport|beside the river|on the second floor|across the valley|outside the museum|in
the kitchen|along the coast|by the railway"""
_WHEN = """on Monday|before sunrise|last winter|every Thursday|during the storm|after
the wedding|in early spring|at half past nine|on his birthday|yesterday evening|in
August|without a reason"""
_JOIN = "and then|although|because|while|so that in the end|but"


def _words(text):
    return [" ".join(entry.split()) for entry in text.split("|")]


_LISTS = [_words(text) for text in (_WHO, _DID, _HOW, _WHAT, _WHERE, _WHEN)]
_JOINS = _words(_JOIN)


def _clause(rng):
    who, did, how, what, where, when = (str(rng.choice(words)) for words in _LISTS)
    return f"{who} {did} {rng.integers(2, 10000)} {how} {what} {where} {when}"


def sentences(count, rng):
    """Draws ``count`` different sentences of two clauses, about ten seconds each.

    Example
    -------
    >>> import numpy as np
    >>> len(set(sentences(100, np.random.default_rng(0))))
    100
    """
    drawn = {}
    while len(drawn) < count:
        sentence = f"{_clause(rng)}, {rng.choice(_JOINS)} {_clause(rng)}."
        drawn[sentence[0].upper() + sentence[1:]] = None
    return list(drawn)
