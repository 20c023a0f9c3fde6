"""The rows to learn from: every flight that arrived, asked about one hour before its scheduled departure.

A cancelled or diverted flight has no delay on arrival, so it is not among them: the question is how late a flight will be if it
flies. Whether it flies is not known at the time asked either, but choosing rows by it puts nothing into a feature.
"""

SERVICE = "departure_delay"
TIMESTAMP = "asked_at"
LABEL = "late"

KEYS = ["carrier", "origin", "dest", "tailnum"]
REQUEST = ["distance", "hour"]

# The year is learnt from until here, and the rest of it is held out: a random split would let October teach about October.
HOLD_OUT_FROM = "2013-10-01T00:00:00Z"

# Midnight in New York at the year's end. The demo stops the clock here: a feature of "the last 24 hours", computed
# up to today, would be empty in every row.
YEAR_END = "2014-01-01T05:00:00Z"

_COLUMNS = f"{', '.join([*KEYS, *REQUEST])}, scheduled_at, arr_delay > 15 AS {LABEL}"
_ARRIVED = "FROM raw.flights WHERE arr_delay IS NOT NULL"
_ORDER = "ORDER BY scheduled_at, carrier, flight, origin, dest"

FLIGHTS = f"SELECT {_COLUMNS}, scheduled_at - INTERVAL 1 HOUR AS {TIMESTAMP} {_ARRIVED} {_ORDER}"

# What a join on the date does: it takes what the tables say of the flight's whole day, its own landing included. In New York a day
# ends at 5 o'clock UTC.
FLIGHTS_BY_DATE = f"""SELECT {_COLUMNS},
    DATE_TRUNC('day', scheduled_at - INTERVAL 5 HOUR) + INTERVAL 29 HOUR AS {TIMESTAMP} {_ARRIVED} {_ORDER}"""

# The last day of the year, keys and request fields alone: what a caller has when it asks.
ONE_DAY = f"""SELECT {", ".join([*KEYS, *REQUEST])}, scheduled_at - INTERVAL 1 HOUR AS {TIMESTAMP}
    {_ARRIVED} AND month = 12 AND day = 31 {_ORDER}"""

# One flight of the next morning, by an aircraft that landed late that night.
FLIGHT = {"carrier": "B6", "origin": "LGA", "dest": "FLL", "tailnum": "N661JB"}
FLIGHT_REQUEST = {"distance": 1076.0, "hour": 6}
