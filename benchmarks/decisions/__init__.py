"""What decisions are worth on scans whose truth is known."""
