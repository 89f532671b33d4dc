-- A finding by its handle, or by a prefix of its id.
SELECT finding_id, handle, evidence_digest
FROM findings
WHERE handle = $handle OR finding_id LIKE $prefix
ORDER BY finding_id
