SELECT s.__fs_row,
  f.feature_timestamp AS __fs_feature_time,
  f.created_timestamp AS __fs_created_time,
  f."status" AS "profile_status",
  f."pieces" AS "profile_pieces"
FROM spine s ASOF LEFT JOIN (
SELECT * FROM log
) f ON s.__fs_k0 = f."shop" AND s.__fs_k1 = f."customer_id" AND s.__fs_t >= f.feature_timestamp;
