-- The table as the publication names it.
SELECT * FROM prices
