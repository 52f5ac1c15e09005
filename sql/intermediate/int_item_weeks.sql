-- one row per (item_id, week in which some user's history ends): its ratings until then
with history as (
    select * from int_history
),

last_ratings as (
    select max(rated_at) as rated_at
    from history
    group by user_id
),

ends as (
    select distinct rated_at // 604800 as week
    from last_ratings
),

weekly as (
    select
        item_id,
        rated_at // 604800 as week,
        count(*) as n_ratings
    from history
    group by item_id, rated_at // 604800
),

until as (
    select
        weekly.item_id,
        ends.week,
        sum(weekly.n_ratings) as n_until,
        coalesce(
            sum(weekly.n_ratings) filter (weekly.week > ends.week - 5), 0
        ) as n_last_weeks
    from weekly
    inner join ends on weekly.week <= ends.week
    group by weekly.item_id, ends.week
)

select * from until
