-- The words of SQL that are not the standard's, which clients ask of `pg_get_keywords()`: none are told.
SELECT * FROM (
  SELECT
    CAST(NULL AS TEXT) AS word,
    CAST(NULL AS TEXT) AS catcode,
    CAST(NULL AS TEXT) AS catdesc
  WHERE false
) AS pg_get_keywords
