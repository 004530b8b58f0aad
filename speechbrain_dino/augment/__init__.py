"""What is done to a crop: noise, reverberation, channel, speed."""
