-- A dry run is called dry_run, and was called check. Whoever reads one of the two names only must find it: an Operation
-- that is retried after a further upgrade would be carried out otherwise.
UPDATE operations SET document = json_set(
    document, '$.dry_run', json(iif(dry_run, 'true', 'false')), '$.check', json(iif(dry_run, 'true', 'false'))
);
