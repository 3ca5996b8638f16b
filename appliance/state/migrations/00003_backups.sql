-- +goose Up

-- Runs on repositories and how they ended.
create table backup_runs (
  id         text    not null primary key, -- a ULID
  repository text    not null,
  kind       text    not null,
  body       text    not null -- JSON; it only gains fields
) strict;

create index runs_of_repository on backup_runs (repository, kind);
