"""Rate limits: high for API calls, low for failed authentication and sign-ups."""

from rokka.core.ratelimits import HOUR, Limit

PER_KEY = Limit("RATE_LIMIT_PER_KEY")
PER_ORGANIZATION = Limit("RATE_LIMIT_PER_ORGANIZATION")
PER_ADDRESS = Limit("RATE_LIMIT_PER_ADDRESS")  # requests without credentials
FAILURES = Limit("RATE_LIMIT_AUTH_FAILURES")  # unknown keys, bad tokens and wrong passwords, from one address
SIGNUPS = Limit("RATE_LIMIT_SIGNUPS", HOUR)  # from one address
