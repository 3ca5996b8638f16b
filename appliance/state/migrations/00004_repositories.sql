-- +goose Up

-- Since when the repositories of the configuration are known.
create table repositories (
  name  text    not null primary key,
  url   text    not null,
  since integer not null
) strict;
