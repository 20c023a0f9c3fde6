-- counts
SELECT ((epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE)) + 62135596800000000) // 86400000000 - 719162) AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ("customer_id" IS NOT NULL)) AS null_keys, count(*) FILTER (WHERE CAST("at" AS TIMESTAMP WITH TIME ZONE) > make_timestamptz(getvariable('now'))) AS future, max(epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE))) FILTER (WHERE "customer_id" IS NOT NULL AND CAST("at" AS TIMESTAMP WITH TIME ZONE) <= make_timestamptz(getvariable('now'))) AS newest FROM __fs_source WHERE ("status" <> 'pending') GROUP BY 1 ORDER BY 1;

CREATE TEMP TABLE __fs_events AS
SELECT "customer_id" AS "customer_id", CAST("at" AS TIMESTAMP WITH TIME ZONE) AS __fs_time, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS __fs_created, "status" AS __fs_i0, "price" AS __fs_i1, "pieces" > 0 AS __fs_i2
FROM __fs_source
WHERE ("status" <> 'pending') AND "customer_id" IS NOT NULL
  AND CAST("at" AS TIMESTAMP WITH TIME ZONE) BETWEEN make_timestamptz(getvariable('events_lower')) AND make_timestamptz(getvariable('events_upper'));

CREATE TEMP TABLE __fs_tiles AS
SELECT "customer_id", (epoch_us(__fs_time) - ((epoch_us(__fs_time) % 900000000) + 900000000) % 900000000 + 900000000) AS __fs_g
FROM __fs_events
GROUP BY "customer_id", __fs_g;

CREATE TEMP TABLE __fs_points AS
SELECT DISTINCT "customer_id", __fs_g FROM (
SELECT "customer_id", __fs_g FROM __fs_tiles
UNION ALL SELECT * FROM (
SELECT "customer_id", __fs_g + 3600000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "customer_id", __fs_g + 7200000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "customer_id", (getvariable('lower') + ((900000000 - getvariable('lower') % 900000000) % 900000000)) AS __fs_g FROM __fs_tiles WHERE getvariable('carry_in') AND __fs_g < (getvariable('lower') + ((900000000 - getvariable('lower') % 900000000) % 900000000))
) WHERE __fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);

CREATE TEMP TABLE __fs_rows AS
SELECT "customer_id", feature_timestamp, created_timestamp, "states_1h" AS "states_1h", "spread_1h" AS "spread_1h", "median_2h" AS "median_2h", "recent_1h" AS "recent_1h"
FROM (
SELECT v."customer_id", make_timestamptz(v.__fs_g) AS feature_timestamp, v.created_timestamp,
  o."states_1h",
  o."spread_1h",
  o."median_2h",
  o."recent_1h"
FROM (
SELECT "customer_id", __fs_g, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS created_timestamp
FROM __fs_points LEFT JOIN __fs_tiles USING ("customer_id", __fs_g)
WINDOW w3600000000 AS (PARTITION BY "customer_id" ORDER BY __fs_g RANGE BETWEEN 2700000000 PRECEDING AND CURRENT ROW),
  w7200000000 AS (PARTITION BY "customer_id" ORDER BY __fs_g RANGE BETWEEN 6300000000 PRECEDING AND CURRENT ROW)
) v
JOIN (
SELECT * FROM (
SELECT "customer_id", __fs_g,
  count(DISTINCT __fs_i0) FILTER (WHERE __fs_i0 IS NOT NULL) OVER w3600000000 AS "states_1h",
  list_transform(list_transform(list_transform([list_sort(list(CAST((__fs_i1 + 0) AS DOUBLE)) FILTER (WHERE __fs_i1 IS NOT NULL) OVER w3600000000)], lambda __fs_r: {'v': __fs_r, 'm': __fs_r[(len(__fs_r) + 1) // 2]}), lambda __fs_r: {'v': __fs_r.v, 'm': __fs_r.m, 'p': CASE WHEN greatest(abs(__fs_r.v[1]), abs(__fs_r.v[-1])) > 1e150 THEN 1 / 4.149515568880993e+180::DOUBLE ELSE 1 END, 'q': CASE WHEN __fs_r.v[-1] - __fs_r.v[1] < 1e-140 THEN 4.149515568880993e+180::DOUBLE ELSE 1 END}), lambda __fs_r: list_stddev_samp(CASE WHEN __fs_r.p = 1 AND __fs_r.q = 1 THEN list_transform(__fs_r.v, lambda __fs_x: __fs_x - __fs_r.m) ELSE list_transform(__fs_r.v, lambda __fs_x: (__fs_x * __fs_r.p - __fs_r.m * __fs_r.p) * __fs_r.q) END) / __fs_r.q / __fs_r.p)[1] AS "spread_1h",
  quantile_cont(CAST((__fs_i1 + 0) AS DOUBLE), 0.5) FILTER (WHERE __fs_i1 IS NOT NULL) OVER w7200000000 AS "median_2h",
  arg_max(__fs_i0, row(epoch_us(__fs_time), coalesce(epoch_us(__fs_created), -9223372036854775807), __fs_i0), 3) FILTER (WHERE __fs_i0 IS NOT NULL AND __fs_i2) OVER w3600000000 AS "recent_1h"
FROM (
SELECT "customer_id", __fs_time, __fs_created, __fs_i0, __fs_i1, __fs_i2 FROM __fs_events
UNION ALL BY NAME SELECT "customer_id", make_timestamptz(__fs_g) AS __fs_time, __fs_g FROM __fs_points WHERE __fs_g BETWEEN getvariable('lower') AND getvariable('upper')
)
WINDOW w3600000000 AS (PARTITION BY "customer_id" ORDER BY epoch_us(__fs_time) RANGE BETWEEN CASE WHEN __fs_g IS NULL THEN 0 ELSE 3600000000 END PRECEDING AND 1 PRECEDING),
  w7200000000 AS (PARTITION BY "customer_id" ORDER BY epoch_us(__fs_time) RANGE BETWEEN CASE WHEN __fs_g IS NULL THEN 0 ELSE 7200000000 END PRECEDING AND 1 PRECEDING)
)
WHERE __fs_g IS NOT NULL
) o ON v."customer_id" = o."customer_id" AND v.__fs_g = o.__fs_g
WHERE v.__fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);
