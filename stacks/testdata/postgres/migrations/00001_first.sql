-- +goose Up
create table jobs (id text primary key);
