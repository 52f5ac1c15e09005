-- one row per user whose ratings co-occurrences are counted from: all users or, on a
-- large release, an even sample with at most $n_cooccurrences pairs of ratings
with cutoffs as (
    select * from int_cutoffs
),

-- int_cooccurrence_ratings keeps at most 1000 ratings of a history
costs as (
    select
        user_id,
        hash(user_id) as draw,
        least(n_history, 1000) * least(n_history, 1000) as n_pairs
    from cutoffs
),

drawn as (
    select
        user_id,
        sum(n_pairs) over (order by draw asc, user_id asc) as n_pairs
    from costs
),

cooccurrence_users as (
    select user_id
    from drawn
    where n_pairs <= $n_cooccurrences
)

select * from cooccurrence_users
