-- counts
SELECT ((epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE)) + 62135596800000000) // 86400000000 - 719162) AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ("shop" IS NOT NULL AND "customer_id" IS NOT NULL)) AS null_keys, count(*) FILTER (WHERE CAST("at" AS TIMESTAMP WITH TIME ZONE) > make_timestamptz(getvariable('now'))) AS future, max(epoch_us(CAST("at" AS TIMESTAMP WITH TIME ZONE))) FILTER (WHERE "shop" IS NOT NULL AND "customer_id" IS NOT NULL AND CAST("at" AS TIMESTAMP WITH TIME ZONE) <= make_timestamptz(getvariable('now'))) AS newest FROM __fs_source WHERE true GROUP BY 1 ORDER BY 1;

CREATE TEMP TABLE __fs_rows AS
SELECT * FROM (
SELECT "shop", "customer_id", __fs_time AS feature_timestamp, __fs_created AS created_timestamp, __fs_i0 AS "status", __fs_i1 AS "pieces"
FROM (
SELECT "shop" AS "shop", "customer_id" AS "customer_id", CAST("at" AS TIMESTAMP WITH TIME ZONE) AS __fs_time, CAST("made" AS TIMESTAMP WITH TIME ZONE) AS __fs_created, "status" AS __fs_i0, "pieces" AS __fs_i1
FROM __fs_source
WHERE true AND "shop" IS NOT NULL AND "customer_id" IS NOT NULL
  AND CAST("at" AS TIMESTAMP WITH TIME ZONE) BETWEEN make_timestamptz(getvariable('events_lower')) AND make_timestamptz(getvariable('events_upper'))
)
)
QUALIFY row_number() OVER (PARTITION BY "shop", "customer_id", feature_timestamp, created_timestamp ORDER BY "status" DESC NULLS LAST, "pieces" DESC NULLS LAST) = 1;
