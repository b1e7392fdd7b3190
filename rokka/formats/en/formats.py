"""How the admin shows dates and times, which are in UTC; without this, Django uses American formats."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i"
