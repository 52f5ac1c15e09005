-- one row per user of $user_ids and eligible film that is not in the user's history.
-- The label is the rating in the user's future, or 0; only $negative_share of the zeros
-- are kept.
with users as (
    select unnest($user_ids::integer[]) as user_id
),

items as (
    select item_id
    from films
    where is_eligible
),

seen as (
    select
        int_history.user_id,
        films.film_id
    from int_history
    semi join users using (user_id)
    inner join films using (item_id)
),

future as (
    select int_future.*
    from int_future
    semi join users using (user_id)
),

unseen as (
    select
        users.user_id,
        items.item_id
    from users
    cross join items
    anti join seen
        on users.user_id = seen.user_id and items.item_id = seen.film_id
),

labelled as (
    select
        unseen.user_id,
        unseen.item_id,
        coalesce(future.rating, 0) as label
    from unseen
    left join future using (user_id, item_id)
),

-- A draw from 0 to 2 ** 32 - 1 for each pair, by fixed arithmetic: DuckDB's hash() may
-- change with its version, and the sample with it. A product carries low bits to high
-- ones, the xor high ones to low ones.
seeded as (
    select
        *,
        (1540483477 * user_id::bigint + 668265263 * item_id::bigint)
        & 4294967295 as seed
    from labelled
),

mixed as (
    select
        *,
        (569420461 * xor(seed, seed >> 16)) & 4294967295 as mix
    from seeded
),

drawn as (
    select
        *,
        (1935289751 * xor(mix, mix >> 15)) & 4294967295 as draw
    from mixed
),

kept as (
    select
        user_id,
        item_id,
        label
    from drawn
    where label > 0 or draw < $negative_share * 4294967296
)

select * from kept
