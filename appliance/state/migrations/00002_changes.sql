-- +goose Up

-- What was tried to make stacks run something else: their history.
create table changes (
  id    text    not null primary key, -- a ULID
  stack text    not null,
  began integer not null,
  body  text    not null -- JSON; it only gains fields
) strict;

create index changes_of_stack on changes (stack);
