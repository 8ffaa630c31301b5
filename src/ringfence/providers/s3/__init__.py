"""What all that speak S3 have in common: stores, keys, and the words of their tools."""
