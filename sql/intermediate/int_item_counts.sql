-- one row per item in the history: its ratings by all users and, as n_sampled, by
-- the co-occurrence users
with history as (
    select * from int_history
),

cooccurrence_users as (
    select * from int_cooccurrence_users
),

graded as (
    select
        history.item_id,
        history.is_liked,
        history.is_disliked,
        cooccurrence_users.user_id is not null as is_sampled
    from history
    left join cooccurrence_users on history.user_id = cooccurrence_users.user_id
),

counted as (
    select
        item_id,
        count(*) as n_ratings,
        count(*) filter (is_liked) as n_liked,
        count(*) filter (is_disliked) as n_disliked,
        count(*) filter (is_sampled) as n_sampled
    from graded
    group by item_id
),

ranked as (
    select
        *,
        row_number() over (order by n_ratings desc, item_id asc) as popularity_rank
    from counted
)

select * from ranked
