-- counts
SELECT ((epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE)) + 62135596800000000) // 86400000000 - 719162) AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ("customer_id" IS NOT NULL)) AS null_keys, count(*) FILTER (WHERE CAST("at" AS TIMESTAMP WITH TIME ZONE) > make_timestamptz(getvariable('now'))) AS future, max(epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE))) FILTER (WHERE "customer_id" IS NOT NULL AND CAST("at" AS TIMESTAMP WITH TIME ZONE) <= make_timestamptz(getvariable('now'))) AS newest FROM __fs_source WHERE ("status" <> 'pending') GROUP BY 1 ORDER BY 1;

CREATE TEMP TABLE __fs_tiles AS
SELECT "customer_id", (epoch_us(__fs_time) - ((epoch_us(__fs_time) % 86400000000) + 86400000000) % 86400000000 + 86400000000) AS __fs_g, CAST(count(*) AS DOUBLE) AS __fs_p96f1f28127c9
FROM (
SELECT "customer_id" AS "customer_id", CAST("at" AS TIMESTAMP WITH TIME ZONE) AS __fs_time, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS __fs_created
FROM __fs_source
WHERE ("status" <> 'pending') AND "customer_id" IS NOT NULL
  AND CAST("at" AS TIMESTAMP WITH TIME ZONE) BETWEEN make_timestamptz(getvariable('events_lower')) AND make_timestamptz(getvariable('events_upper'))
)
GROUP BY "customer_id", __fs_g;

CREATE TEMP TABLE __fs_points AS
SELECT DISTINCT "customer_id", __fs_g FROM (
SELECT "customer_id", __fs_g FROM __fs_tiles
UNION ALL SELECT * FROM (
SELECT "customer_id", __fs_g + 86400000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "customer_id", __fs_g + 604800000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "customer_id", (getvariable('lower') + ((86400000000 - getvariable('lower') % 86400000000) % 86400000000)) AS __fs_g FROM __fs_tiles WHERE getvariable('carry_in') AND __fs_g < (getvariable('lower') + ((86400000000 - getvariable('lower') % 86400000000) % 86400000000))
) WHERE __fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);

CREATE TEMP TABLE __fs_rows AS
SELECT "customer_id", feature_timestamp, created_timestamp, "n_1d" AS "n_1d", "n_7d" AS "n_7d"
FROM (
SELECT v."customer_id", make_timestamptz(v.__fs_g) AS feature_timestamp, v.created_timestamp,
  CAST(coalesce(__fs_p96f1f28127c9_86400, 0) AS BIGINT) AS "n_1d",
  CAST(coalesce(__fs_p96f1f28127c9_604800, 0) AS BIGINT) AS "n_7d"
FROM (
SELECT "customer_id", __fs_g, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS created_timestamp,
  __fs_p96f1f28127c9 AS __fs_p96f1f28127c9_86400,
  sum(__fs_p96f1f28127c9) OVER w604800000000 AS __fs_p96f1f28127c9_604800
FROM __fs_points LEFT JOIN __fs_tiles USING ("customer_id", __fs_g)
WINDOW w604800000000 AS (PARTITION BY "customer_id" ORDER BY __fs_g RANGE BETWEEN 518400000000 PRECEDING AND CURRENT ROW)
) v
WHERE v.__fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);
