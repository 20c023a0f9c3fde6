SELECT s.__fs_row,
  CASE WHEN epoch_us(s.__fs_t) - epoch_us(f.feature_timestamp) <= 3600000000 THEN f.feature_timestamp END AS __fs_feature_time,
  CASE WHEN epoch_us(s.__fs_t) - epoch_us(f.feature_timestamp) <= 3600000000 THEN f.created_timestamp END AS __fs_created_time,
  CASE WHEN epoch_us(s.__fs_t) - epoch_us(f.feature_timestamp) <= 3600000000 THEN f."status" END AS "profile_status",
  CASE WHEN epoch_us(s.__fs_t) - epoch_us(f.feature_timestamp) <= 3600000000 THEN f."pieces" END AS "profile_pieces"
FROM spine s ASOF LEFT JOIN (
SELECT "shop", "customer_id", feature_timestamp, created_timestamp, "status", "pieces" FROM log
QUALIFY row_number() OVER (PARTITION BY "shop", "customer_id", feature_timestamp ORDER BY created_timestamp DESC NULLS LAST) = 1
) f ON s.__fs_k0 = f."shop" AND s.__fs_k1 = f."customer_id" AND s.__fs_t >= f.feature_timestamp;
