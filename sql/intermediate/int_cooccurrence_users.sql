-- one row per user whose ratings co-occurrences are counted from: all users or, on a
-- large release, an even sample with at most $n_cooccurrences pairs of ratings
with cutoffs as (
    select * from int_cutoffs
),

-- int_cooccurrence_ratings keeps at most 1000 ratings of a history
costs as (
    select
        user_id,
        (1540483477 * user_id::bigint) & 4294967295 as seed,
        least(n_history, 1000) * least(n_history, 1000) as n_pairs
    from cutoffs
),

-- a draw by the fixed arithmetic of candidate_pairs
mixed as (
    select
        *,
        (569420461 * xor(seed, seed >> 16)) & 4294967295 as mix
    from costs
),

drawn as (
    select
        user_id,
        n_pairs,
        (1935289751 * xor(mix, mix >> 15)) & 4294967295 as draw
    from mixed
),

summed as (
    select
        user_id,
        sum(n_pairs) over (order by draw asc, user_id asc) as n_pairs
    from drawn
),

cooccurrence_users as (
    select user_id
    from summed
    where n_pairs <= $n_cooccurrences
)

select * from cooccurrence_users
