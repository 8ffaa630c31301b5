"""S3 Express One Zone, on a double of AWS before the real engine."""
