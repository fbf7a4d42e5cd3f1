-- Static headers of endpoints, sealed as secrets are. Where they are, `headers` holds their names alone, each with an empty
-- text; rows from before hold the values too, until the next start seals them.
alter table endpoints add column headers_key text;
alter table endpoints add column headers_sealed blob check ((headers_key is null) = (headers_sealed is null));
create index endpoints_by_headers_key on endpoints (headers_key, id) where headers <> '{}';
