-- +goose Up

-- The one row of a stack says what runs.
create table releases (
  stack      text    not null primary key,
  digest     text    not null,
  version    text    not null,
  generation integer not null check (generation > 0),
  committed  integer not null, -- milliseconds since 1970, as every time here
  stopped    integer not null default 0,
  settings   text    not null default ''
) strict;

-- Numbers are never used twice, so rows stay when a stack is forgotten.
create table generations (
  stack  text    not null,
  number integer not null check (number > 0),
  digest text    not null,
  state  text    not null check (state in ('reserved', 'used')),
  primary key (stack, number)
) strict;

create unique index one_reservation on generations (stack, digest) where state = 'reserved';

create table jobs (
  id      text    not null primary key,
  plan    text    not null,
  key     text    not null,
  opened  integer not null,
  closed  integer,
  outcome text check (outcome in ('succeeded', 'failed'))
) strict;

create unique index one_open_job on jobs (plan, key) where closed is null;

create table events (
  number integer not null primary key,
  job    text    not null references jobs (id) on delete cascade,
  event  text    not null,
  unique (job, event)
) strict;

create table requests (
  plan text not null,
  key  text not null,
  body text not null,
  primary key (plan, key)
) strict;

create table counters (
  name  text    not null primary key,
  value integer not null
) strict;

create table runs (
  task text    not null primary key,
  at   integer not null
) strict;
