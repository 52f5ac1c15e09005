-- one row per (item_id, week in which some user's history ends), for the $n_compared
-- most rated items: how often the item had been rated by then
with history as (
    select * from int_history
),

compared as (
    select item_id from int_item_counts
    where popularity_rank <= $n_compared
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
        history.item_id,
        history.rated_at // 604800 as week,
        count(*) as n_ratings
    from history
    semi join compared using (item_id)
    group by history.item_id, history.rated_at // 604800
),

first_weeks as (
    select
        item_id,
        min(week) as week
    from weekly
    group by item_id
),

wanted as (
    select
        first_weeks.item_id,
        ends.week
    from first_weeks
    inner join ends on first_weeks.week <= ends.week
),

every_week as (
    select
        item_id,
        week,
        coalesce(weekly.n_ratings, 0) as n_ratings
    from weekly
    full join wanted using (item_id, week)
),

running as (
    select
        item_id,
        week,
        sum(n_ratings) over (
            partition by item_id
            order by week asc, item_id asc
        ) as n_until
    from every_week
),

-- a rating is recent in its own week and in the following four
later as (
    select unnest(range(5)) as n_weeks
),

recent as (
    select
        weekly.item_id,
        weekly.week + later.n_weeks as week,
        sum(weekly.n_ratings) as n_last_weeks
    from weekly
    cross join later
    group by weekly.item_id, weekly.week + later.n_weeks
),

until as (
    select
        item_id,
        week,
        running.n_until,
        coalesce(recent.n_last_weeks, 0) as n_last_weeks
    from running
    semi join wanted using (item_id, week)
    left join recent using (item_id, week)
)

select * from until
