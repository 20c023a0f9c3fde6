SELECT c."shop", c."customer_id", c.feature_timestamp, c.created_timestamp, c."status", c."shares",
  (h.feature_timestamp IS NOT NULL OR c.created_timestamp IS DISTINCT FROM n.created_timestamp) AS __fs_correction, false AS __fs_deleted
FROM (SELECT * FROM __fs_computed c ANTI JOIN __fs_held h ON c."shop" = h."shop" AND c."customer_id" = h."customer_id" AND c.feature_timestamp = h.feature_timestamp AND c.created_timestamp IS NOT DISTINCT FROM h.created_timestamp) c
JOIN __fs_computed_latest n ON c."shop" = n."shop" AND c."customer_id" = n."customer_id" AND c.feature_timestamp = n.feature_timestamp
LEFT JOIN __fs_held_latest h ON c."shop" = h."shop" AND c."customer_id" = h."customer_id" AND c.feature_timestamp = h.feature_timestamp
UNION ALL
SELECT c."shop", c."customer_id", c.feature_timestamp, CASE WHEN h.feature_timestamp IS NULL THEN coalesce(c.created_timestamp, make_timestamptz(getvariable('run'))) WHEN (c.created_timestamp IS NOT NULL AND (h.created_timestamp IS NULL OR c.created_timestamp > h.created_timestamp)) THEN c.created_timestamp ELSE greatest(make_timestamptz(getvariable('run')), h.created_timestamp + INTERVAL 1 MICROSECOND) END AS created_timestamp, c."status", c."shares",
  h.feature_timestamp IS NOT NULL AS __fs_correction, false AS __fs_deleted
FROM __fs_computed_latest c LEFT JOIN __fs_held_latest h ON c."shop" = h."shop" AND c."customer_id" = h."customer_id" AND c.feature_timestamp = h.feature_timestamp
WHERE h.feature_timestamp IS NOT NULL AND NOT (c.created_timestamp IS NOT NULL AND (h.created_timestamp IS NULL OR c.created_timestamp > h.created_timestamp)) AND (h.__fs_deleted OR c."status" IS DISTINCT FROM h."status" OR c."shares" IS DISTINCT FROM h."shares" OR list_transform(c."shares", lambda v: (v = 0 AND signbit(v))) IS DISTINCT FROM list_transform(h."shares", lambda v: (v = 0 AND signbit(v))))
UNION ALL
SELECT v."shop", v."customer_id", v.feature_timestamp, greatest(make_timestamptz(getvariable('run')), v.created_timestamp + INTERVAL 1 MICROSECOND) AS created_timestamp, NULL AS "status", NULL AS "shares", true AS __fs_correction, true AS __fs_deleted
FROM __fs_vanished v;
