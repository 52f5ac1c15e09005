-- one row per user whose history tells which items go together: all, or of a larger
-- release as many, evenly drawn, as have $n_cooccurrences pairs of ratings between them
with cutoffs as (
    select * from int_cutoffs
),

-- the work grows with the square of a history's length
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
