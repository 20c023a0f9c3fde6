SELECT s.__fs_row,
  f.feature_timestamp AS __fs_feature_time,
  f.created_timestamp AS __fs_created_time,
  f."status" AS "profile_status",
  f."pieces" AS "profile_pieces"
FROM spine s ASOF LEFT JOIN (
SELECT "shop", "customer_id", __fs_available, feature_timestamp, created_timestamp, "status", "pieces"
FROM (SELECT *, greatest(feature_timestamp, created_timestamp) AS __fs_available FROM log WHERE created_timestamp IS NOT NULL)
QUALIFY row(feature_timestamp, created_timestamp) = max(row(feature_timestamp, created_timestamp)) OVER (PARTITION BY "shop", "customer_id" ORDER BY __fs_available, feature_timestamp, created_timestamp ROWS UNBOUNDED PRECEDING)
  AND row_number() OVER (PARTITION BY "shop", "customer_id", __fs_available ORDER BY feature_timestamp DESC, created_timestamp DESC) = 1
) f ON s.__fs_k0 = f."shop" AND s.__fs_k1 = f."customer_id" AND s.__fs_t >= f.__fs_available;
