-- Recommendations of the publication, as they are exported.
SELECT * FROM v_recommendations ORDER BY cluster, detector, recommendation_id
