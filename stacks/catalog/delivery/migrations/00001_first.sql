-- Portable SQL: this one file runs on SQLite and on PostgreSQL, so it uses only
-- text and bigint. Ids are ULIDs, money is signed minor units, times are Unix
-- milliseconds in UTC, flags are 0 or 1, and a time of 0 means "not yet".

-- +goose Up
create table members (
    id         text   not null primary key,
    email      text   not null,
    name       text   not null,
    password   text   not null,
    lang       text   not null,
    created_at bigint not null
);
create unique index members_email on members (email);

create table grants (
    id         text   not null primary key,
    member_id  text   not null references members (id),
    role       text   not null,
    granted_by text   not null,
    granted_at bigint not null,
    revoked_by text   not null,
    revoked_at bigint not null
);
create unique index grants_in_force on grants (member_id, role, revoked_at);

create table sessions (
    token_hash text   not null primary key,
    member_id  text   not null references members (id),
    created_at bigint not null,
    expires_at bigint not null
);
create index sessions_expiry on sessions (expires_at);

-- A link makes an account with a role, or sets the password of a member.
create table links (
    token_hash text   not null primary key,
    role       text   not null,
    member_id  text            references members (id),
    created_at bigint not null,
    expires_at bigint not null,
    used_at    bigint not null,
    check ((role = '') = (member_id is not null))
);
create index links_expiry on links (expires_at);

create table providers (
    id         text   not null primary key,
    kind       text   not null,
    owner_id   text   not null references members (id),
    name       text   not null,
    address    text   not null,
    opening    text   not null,
    created_at bigint not null
);
create index providers_owner on providers (owner_id);

create table offerings (
    id          text   not null primary key,
    provider_id text   not null references providers (id),
    name        text   not null,
    about       text   not null,
    unit        text   not null,
    price       bigint not null check (price >= 0),
    available   bigint not null check (available in (0, 1)),
    created_at  bigint not null
);
create index offerings_provider on offerings (provider_id);

create table requests (
    id          text   not null primary key,
    customer_id text   not null references members (id),
    provider_id text   not null references providers (id),
    address     text   not null,
    note        text   not null,
    created_at  bigint not null
);

create table request_lines (
    id          text   not null primary key,
    request_id  text   not null references requests (id),
    offering_id text   not null references offerings (id),
    name        text   not null,
    price       bigint not null check (price >= 0),
    quantity    bigint not null check (quantity > 0)
);
create index request_lines_request on request_lines (request_id);

create table quotes (
    id               text   not null primary key,
    request_id       text   not null references requests (id),
    settings_version bigint not null,
    unit             text   not null,
    goods            bigint not null check (goods >= 0),
    delivery         bigint not null check (delivery >= 0),
    tip              bigint not null check (tip >= 0),
    provider_share   bigint not null check (provider_share >= 0),
    worker_share     bigint not null check (worker_share >= 0),
    commission       bigint not null check (commission >= 0),
    fund             bigint not null check (fund >= 0),
    created_at       bigint not null,
    expires_at       bigint not null,
    check (provider_share + worker_share + commission + fund = goods + delivery + tip)
);
create unique index quotes_request on quotes (request_id);

create table jobs (
    id          text   not null primary key,
    flow        text   not null,
    quote_id    text   not null references quotes (id),
    customer_id text   not null references members (id),
    provider_id text   not null references providers (id),
    worker_id   text            references members (id),
    state       text   not null,
    payment     text   not null,
    pin         text   not null,
    created_at  bigint not null,
    updated_at  bigint not null
);
create unique index jobs_quote on jobs (quote_id);
create index jobs_customer on jobs (customer_id);
create index jobs_provider on jobs (provider_id);
create index jobs_worker on jobs (worker_id);
create index jobs_state on jobs (state);

create table stops (
    id      text   not null primary key,
    job_id  text   not null references jobs (id),
    place   bigint not null,
    kind    text   not null,
    state   text   not null,
    address text   not null,
    note    text   not null,
    done_at bigint not null
);
create unique index stops_order on stops (job_id, place);

create table availability (
    member_id  text   not null primary key references members (id),
    online     bigint not null check (online in (0, 1)),
    idle_since bigint not null
);

create table offers (
    id         text   not null primary key,
    job_id     text   not null references jobs (id),
    worker_id  text   not null references members (id),
    rule       text   not null,
    reason     text   not null,
    state      text   not null,
    created_at bigint not null,
    expires_at bigint not null,
    decided_at bigint not null
);
create index offers_job on offers (job_id);
create index offers_worker on offers (worker_id, state);
create index offers_due on offers (state, expires_at);

create table events (
    seq       bigint not null primary key,
    id        text   not null,
    subject   text   not null,
    kind      text   not null,
    actor_id  text   not null,
    device    text   not null,
    device_at bigint not null,
    at        bigint not null,
    data      text   not null,
    prev      text   not null,
    hash      text   not null
);
create unique index events_id on events (id);
create index events_subject on events (subject, seq);

create table proofs (
    id       text   not null primary key,
    stop_id  text   not null references stops (id),
    event_id text   not null references events (id),
    kind     text   not null,
    value    text   not null,
    at       bigint not null
);
create index proofs_stop on proofs (stop_id);

create table accounts (
    id       text not null primary key,
    kind     text not null,
    owner_id text not null,
    unit     text not null
);
create unique index accounts_owner on accounts (kind, owner_id, unit);

create table transactions (
    id       text   not null primary key,
    kind     text   not null,
    key      text   not null,
    job_id   text   not null,
    reverses text   not null,
    memo     text   not null,
    actor_id text   not null,
    at       bigint not null
);
create unique index transactions_key on transactions (key);
create index transactions_job on transactions (job_id);

create table postings (
    id             text   not null primary key,
    transaction_id text   not null references transactions (id),
    place          bigint not null,
    account_id     text   not null references accounts (id),
    unit           text   not null,
    amount         bigint not null check (amount <> 0)
);
create unique index postings_order on postings (transaction_id, place);
create index postings_account on postings (account_id);

create table setting_versions (
    version  bigint not null primary key,
    actor_id text   not null,
    reason   text   not null,
    at       bigint not null
);

create table settings (
    version bigint not null references setting_versions (version),
    key     text   not null,
    value   text   not null,
    primary key (version, key)
);

-- +goose Down
drop table settings;
drop table setting_versions;
drop table postings;
drop table transactions;
drop table accounts;
drop table proofs;
drop table events;
drop table offers;
drop table availability;
drop table stops;
drop table jobs;
drop table quotes;
drop table request_lines;
drop table requests;
drop table offerings;
drop table providers;
drop table links;
drop table sessions;
drop table grants;
drop table members;
