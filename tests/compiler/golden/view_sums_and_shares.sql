-- counts
SELECT ((epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE)) + 62135596800000000) // 86400000000 - 719162) AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ("shop" IS NOT NULL AND "customer_id" IS NOT NULL)) AS null_keys, count(*) FILTER (WHERE CAST("at" AS TIMESTAMP WITH TIME ZONE) > make_timestamptz(getvariable('now'))) AS future, max(epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE))) FILTER (WHERE "shop" IS NOT NULL AND "customer_id" IS NOT NULL AND CAST("at" AS TIMESTAMP WITH TIME ZONE) <= make_timestamptz(getvariable('now'))) AS newest FROM __fs_source WHERE true GROUP BY 1 ORDER BY 1;

CREATE TEMP TABLE __fs_tiles AS
SELECT "shop", "customer_id", (epoch_us(__fs_time) - ((epoch_us(__fs_time) % 3600000000) + 3600000000) % 3600000000 + 3600000000) AS __fs_g, sum(CAST(trunc(__fs_i0) AS HUGEINT)) AS __fs_p12ecd81c1e2a, sum(CASE WHEN abs(__fs_i0) >= 77371252455336267181195264.0::DOUBLE OR ((__fs_i0 - trunc(__fs_i0)) * 77371252455336267181195264.0::DOUBLE) <> trunc(((__fs_i0 - trunc(__fs_i0)) * 77371252455336267181195264.0::DOUBLE)) THEN error('a value does not fit this way of summing') ELSE CAST(((__fs_i0 - trunc(__fs_i0)) * 77371252455336267181195264.0::DOUBLE) AS HUGEINT) END) AS __fs_p56a72d95fc81, sum(__fs_i1) AS __fs_p26b9e6347e31, sum(CAST(__fs_i2 AS INTEGER)) FILTER (WHERE __fs_i3) AS __fs_pedcaa00e31b7, CAST(count(__fs_i2) FILTER (WHERE __fs_i3) AS DOUBLE) AS __fs_p84beff127611, max((__fs_i0 + 0)) AS __fs_p9d2727fe0989, arg_max(__fs_i4, row(epoch_us(__fs_time), coalesce(epoch_us(__fs_created), -9223372036854775807), __fs_i4)) AS __fs_pe001e5606726, max(epoch_us(__fs_created)) AS __fs_c
FROM (
SELECT "shop" AS "shop", "customer_id" AS "customer_id", CAST("at" AS TIMESTAMP WITH TIME ZONE) AS __fs_time, CAST("made" AS TIMESTAMP WITH TIME ZONE) AS __fs_created, "price" AS __fs_i0, "pieces" AS __fs_i1, "status" = 'paid' AS __fs_i2, "pieces" > 1 AS __fs_i3, "status" AS __fs_i4
FROM __fs_source
WHERE true AND "shop" IS NOT NULL AND "customer_id" IS NOT NULL
  AND CAST("at" AS TIMESTAMP WITH TIME ZONE) BETWEEN make_timestamptz(getvariable('events_lower')) AND make_timestamptz(getvariable('events_upper'))
)
GROUP BY "shop", "customer_id", __fs_g;

CREATE TEMP TABLE __fs_points AS
SELECT DISTINCT "shop", "customer_id", __fs_g FROM (
SELECT "shop", "customer_id", __fs_g FROM __fs_tiles
UNION ALL SELECT * FROM (
SELECT "shop", "customer_id", __fs_g + 10800000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "shop", "customer_id", __fs_g + 86400000000 AS __fs_g FROM __fs_tiles
UNION ALL SELECT "shop", "customer_id", (getvariable('lower') + ((3600000000 - getvariable('lower') % 3600000000) % 3600000000)) AS __fs_g FROM __fs_tiles WHERE getvariable('carry_in') AND __fs_g < (getvariable('lower') + ((3600000000 - getvariable('lower') % 3600000000) % 3600000000))
) WHERE __fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);

CREATE TEMP TABLE __fs_rows AS
SELECT "shop", "customer_id", feature_timestamp, created_timestamp, "spend_3h" AS "spend_3h", "pieces_3h" AS "pieces_3h", "share_1d" AS "share_1d", "top_1d" AS "top_1d", "state_1d" AS "state_1d", ("spend_3h" / NULLIF("pieces_3h", 0)) AS "per_piece"
FROM (
SELECT v."shop", v."customer_id", make_timestamptz(v.__fs_g) AS feature_timestamp, v.created_timestamp,
  (CASE WHEN abs(__fs_p12ecd81c1e2a_10800) < 1099511627776 THEN CAST(__fs_p12ecd81c1e2a_10800 * 77371252455336267181195264::HUGEINT + __fs_p56a72d95fc81_10800 AS DOUBLE) / 77371252455336267181195264.0::DOUBLE ELSE CAST(__fs_p12ecd81c1e2a_10800 AS DOUBLE) + CAST(__fs_p56a72d95fc81_10800 AS DOUBLE) / 77371252455336267181195264.0::DOUBLE END) AS "spend_3h",
  CAST(__fs_p26b9e6347e31_10800 AS BIGINT) AS "pieces_3h",
  CAST(__fs_pedcaa00e31b7_86400 AS DOUBLE) / nullif(__fs_p84beff127611_86400, 0) AS "share_1d",
  __fs_p9d2727fe0989_86400 AS "top_1d",
  __fs_pe001e5606726_86400 AS "state_1d"
FROM (
SELECT "shop", "customer_id", __fs_g, make_timestamptz(greatest(__fs_g, coalesce(max(__fs_c) OVER w86400000000, __fs_g))) AS created_timestamp,
  sum(__fs_p12ecd81c1e2a) OVER w10800000000 AS __fs_p12ecd81c1e2a_10800,
  sum(__fs_p56a72d95fc81) OVER w10800000000 AS __fs_p56a72d95fc81_10800,
  sum(__fs_p26b9e6347e31) OVER w10800000000 AS __fs_p26b9e6347e31_10800,
  sum(__fs_pedcaa00e31b7) OVER w86400000000 AS __fs_pedcaa00e31b7_86400,
  sum(__fs_p84beff127611) OVER w86400000000 AS __fs_p84beff127611_86400,
  max(__fs_p9d2727fe0989) OVER w86400000000 AS __fs_p9d2727fe0989_86400,
  last_value(__fs_pe001e5606726 IGNORE NULLS) OVER w86400000000 AS __fs_pe001e5606726_86400
FROM __fs_points LEFT JOIN __fs_tiles USING ("shop", "customer_id", __fs_g)
WINDOW w10800000000 AS (PARTITION BY "shop", "customer_id" ORDER BY __fs_g RANGE BETWEEN 7200000000 PRECEDING AND CURRENT ROW),
  w86400000000 AS (PARTITION BY "shop", "customer_id" ORDER BY __fs_g RANGE BETWEEN 82800000000 PRECEDING AND CURRENT ROW)
) v
WHERE v.__fs_g BETWEEN getvariable('lower') AND getvariable('upper')
);
