"""The training rows: every flight that arrived, one hour before its scheduled departure.

Cancelled and diverted flights are left out, since they have no arrival delay: the model predicts how late a flight will be if it flies.
Whether it flies is not known at that time either, but selecting rows by it does not leak into a feature.
"""

SERVICE = "departure_delay"
TIMESTAMP = "asked_at"
LABEL = "late"

KEYS = ["carrier", "origin", "dest", "tailnum"]
REQUEST = ["distance", "hour"]

# Flights before are for training, the rest is held out: a random split would train on the days that it is evaluated on.
HOLD_OUT_FROM = "2013-10-01T00:00:00Z"

# Midnight in New York at the end of the year, up to which the demo materializes: later windows have no flights.
YEAR_END = "2014-01-01T05:00:00Z"

_COLUMNS = f"{', '.join([*KEYS, *REQUEST])}, scheduled_at, arr_delay > 15 AS {LABEL}"
_ARRIVED = "FROM raw.flights WHERE arr_delay IS NOT NULL"
_ORDER = "ORDER BY scheduled_at, carrier, flight, origin, dest"

FLIGHTS = f"SELECT {_COLUMNS}, scheduled_at - INTERVAL 1 HOUR AS {TIMESTAMP} {_ARRIVED} {_ORDER}"

# As a join on the date: features as of the end of the flight's day, which include its own landing. In New York a day ends at 5:00 UTC.
FLIGHTS_BY_DATE = f"""SELECT {_COLUMNS},
    DATE_TRUNC('day', scheduled_at - INTERVAL 5 HOUR) + INTERVAL 29 HOUR AS {TIMESTAMP} {_ARRIVED} {_ORDER}"""

# The last day of the year with keys and request fields only, as a caller has them.
ONE_DAY = f"""SELECT {", ".join([*KEYS, *REQUEST])}, scheduled_at - INTERVAL 1 HOUR AS {TIMESTAMP}
    {_ARRIVED} AND month = 12 AND day = 31 {_ORDER}"""

# One flight of the next morning, by an aircraft that landed late that night.
FLIGHT = {"carrier": "B6", "origin": "LGA", "dest": "FLL", "tailnum": "N661JB"}
FLIGHT_REQUEST = {"distance": 1076.0, "hour": 6}
