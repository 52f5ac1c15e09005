-- one row per rating that votes in the state kernels, in the order of each user's
-- ratings: those that co-occurrences are counted from or, where these are more than
-- $n_votes, those of an even sample of the users
with cooccurrence_ratings as (
    select * from int_cooccurrence_ratings
),

counted as (
    select
        user_id,
        (1540483477 * user_id::bigint) & 4294967295 as seed,
        count(*) as n_ratings
    from cooccurrence_ratings
    group by user_id
),

-- a draw by the fixed arithmetic of candidate_pairs
mixed as (
    select
        *,
        (569420461 * xor(seed, seed >> 16)) & 4294967295 as mix
    from counted
),

drawn as (
    select
        user_id,
        n_ratings,
        (1935289751 * xor(mix, mix >> 15)) & 4294967295 as draw
    from mixed
),

summed as (
    select
        user_id,
        sum(n_ratings) over (order by draw asc, user_id asc) as n_ratings
    from drawn
),

kept as (
    select user_id
    from summed
    where n_ratings <= $n_votes
),

voters as (
    select
        cooccurrence_ratings.user_id,
        cooccurrence_ratings.item_id
    from cooccurrence_ratings
    semi join kept using (user_id)
    order by cooccurrence_ratings.user_id, cooccurrence_ratings.position
)

select * from voters
