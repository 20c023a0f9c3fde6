SELECT c."shop", c."customer_id", c.feature_timestamp, CASE WHEN h.feature_timestamp IS NULL THEN coalesce(c.created_timestamp, make_timestamptz(getvariable('run'))) WHEN (c.created_timestamp IS NOT NULL AND (h.created_timestamp IS NULL OR c.created_timestamp > h.created_timestamp)) THEN c.created_timestamp ELSE greatest(make_timestamptz(getvariable('run')), h.created_timestamp + INTERVAL 1 MICROSECOND) END AS created_timestamp, c."status", c."share",
  h.feature_timestamp IS NOT NULL AS __fs_correction, false AS __fs_deleted
FROM __fs_computed_latest c LEFT JOIN __fs_held_latest h ON c."shop" = h."shop" AND c."customer_id" = h."customer_id" AND c.feature_timestamp = h.feature_timestamp
WHERE h.feature_timestamp IS NULL OR (h.__fs_deleted OR c."status" IS DISTINCT FROM h."status" OR c."share" IS DISTINCT FROM h."share" OR (c."share" = 0 AND signbit(c."share")) IS DISTINCT FROM (h."share" = 0 AND signbit(h."share")))
UNION ALL
SELECT v."shop", v."customer_id", v.feature_timestamp, greatest(make_timestamptz(getvariable('run')), v.created_timestamp + INTERVAL 1 MICROSECOND) AS created_timestamp, NULL AS "status", NULL AS "share", true AS __fs_correction, true AS __fs_deleted
FROM __fs_vanished v;
