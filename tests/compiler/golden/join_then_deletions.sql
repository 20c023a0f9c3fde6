SELECT s.__fs_row,
  f.feature_timestamp AS __fs_feature_time,
  f.created_timestamp AS __fs_created_time,
  f."status" AS "profile_status",
  f."pieces" AS "profile_pieces"
FROM spine s ASOF LEFT JOIN (
WITH known AS (SELECT *, greatest(feature_timestamp, created_timestamp) AS __fs_available FROM log WHERE created_timestamp IS NOT NULL),
ended AS (SELECT *, coalesce(min(__fs_available) FILTER (WHERE __fs_deleted) OVER (PARTITION BY "shop", "customer_id", feature_timestamp ORDER BY created_timestamp ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING), TIMESTAMPTZ 'infinity') AS __fs_ended FROM known),
living AS MATERIALIZED (SELECT * FROM ended WHERE __fs_deleted IS NOT TRUE),
moments AS (SELECT "shop", "customer_id", __fs_available, row(feature_timestamp, created_timestamp, __fs_ended) AS __fs_row FROM living UNION ALL SELECT "shop", "customer_id", __fs_ended, NULL FROM living WHERE __fs_ended < TIMESTAMPTZ 'infinity'),
seen AS MATERIALIZED (SELECT DISTINCT "shop", "customer_id", __fs_available, max(__fs_row) OVER (PARTITION BY "shop", "customer_id" ORDER BY __fs_available RANGE UNBOUNDED PRECEDING) AS __fs_row FROM moments),
left_over AS (SELECT s."shop", s."customer_id", s.__fs_available, max(row(l.feature_timestamp, l.created_timestamp)) FILTER (WHERE l.feature_timestamp IS NOT NULL) AS __fs_row FROM seen s LEFT JOIN living l ON s."shop" = l."shop" AND s."customer_id" = l."customer_id" AND l.__fs_available <= s.__fs_available AND s.__fs_available < l.__fs_ended WHERE s.__fs_row[3] <= s.__fs_available GROUP BY ALL),
best AS (SELECT "shop", "customer_id", __fs_available, __fs_row[1] AS __fs_feature, __fs_row[2] AS __fs_made FROM seen WHERE __fs_row[3] > __fs_available UNION ALL SELECT "shop", "customer_id", __fs_available, __fs_row[1], __fs_row[2] FROM left_over)
SELECT b."shop", b."customer_id", b.__fs_available, l.feature_timestamp, l.created_timestamp, l."status", l."pieces"
FROM best b LEFT JOIN living l ON b."shop" = l."shop" AND b."customer_id" = l."customer_id" AND l.feature_timestamp = b.__fs_feature AND l.created_timestamp = b.__fs_made
) f ON s.__fs_k0 = f."shop" AND s.__fs_k1 = f."customer_id" AND s.__fs_t >= f.__fs_available;
