"""Features, encoders, heads, classifiers, teacher."""
