SELECT s.__fs_row,
  f.feature_timestamp AS __fs_feature_time,
  f.created_timestamp AS __fs_created_time,
  f."status" AS "profile_status",
  f."pieces" AS "profile_pieces"
FROM spine s ASOF LEFT JOIN (
SELECT * FROM (
SELECT "shop", "customer_id", feature_timestamp, created_timestamp, "status", "pieces", __fs_deleted FROM log
QUALIFY row_number() OVER (PARTITION BY "shop", "customer_id", feature_timestamp ORDER BY created_timestamp DESC NULLS LAST) = 1
) WHERE __fs_deleted IS NOT TRUE
) f ON s.__fs_k0 = f."shop" AND s.__fs_k1 = f."customer_id" AND s.__fs_t >= f.feature_timestamp;
