-- Findings of the publication, as they are exported.
SELECT * FROM v_findings ORDER BY cluster, detector, handle, finding_id
