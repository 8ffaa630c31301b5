"""AWS S3, S3 Express, and every engine that speaks S3 and STS."""
