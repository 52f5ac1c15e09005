-- one row per item in the history: how often and how well it was rated, by all and by
-- those who teach which items go together
with history as (
    select * from int_history
),

teachers as (
    select * from int_teachers
),

graded as (
    select
        history.item_id,
        history.is_liked,
        history.is_disliked,
        teachers.user_id is not null as is_taught
    from history
    left join teachers on history.user_id = teachers.user_id
),

counted as (
    select
        item_id,
        count(*) as n_ratings,
        count(*) filter (is_liked) as n_liked,
        count(*) filter (is_disliked) as n_disliked,
        count(*) filter (is_taught) as n_taught,
        count(*) filter (is_taught and is_liked) as n_taught_liked
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
