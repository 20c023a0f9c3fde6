-- counts
SELECT ((epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE)) + 62135596800000000) // 86400000000 - 719162) AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ("customer_id" IS NOT NULL)) AS null_keys, count(*) FILTER (WHERE CAST("at" AS TIMESTAMP WITH TIME ZONE) > make_timestamptz(getvariable('now'))) AS future, max(epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE))) FILTER (WHERE "customer_id" IS NOT NULL AND CAST("at" AS TIMESTAMP WITH TIME ZONE) <= make_timestamptz(getvariable('now'))) AS newest FROM __fs_source WHERE ("status" <> 'pending') GROUP BY 1 ORDER BY 1;

CREATE TEMP TABLE __fs_rows AS
SELECT * FROM (
SELECT "customer_id", __fs_time AS feature_timestamp, __fs_created AS created_timestamp, __fs_i0 AS "price", __fs_i1 AS "big", (__fs_i0 * 2) AS "twice"
FROM (
SELECT "customer_id" AS "customer_id", CAST("at" AS TIMESTAMP WITH TIME ZONE) AS __fs_time, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS __fs_created, "price" AS __fs_i0, (("price" * "pieces")) > 100 AS __fs_i1
FROM __fs_source
WHERE ("status" <> 'pending') AND "customer_id" IS NOT NULL
  AND CAST("at" AS TIMESTAMP WITH TIME ZONE) BETWEEN make_timestamptz(getvariable('events_lower')) AND make_timestamptz(getvariable('events_upper'))
)
)
QUALIFY row_number() OVER (PARTITION BY "customer_id", feature_timestamp, created_timestamp ORDER BY "price" DESC NULLS LAST, "big" DESC NULLS LAST, "twice" DESC NULLS LAST, ("price" = 0 AND signbit("price"))) = 1;
