-- one row per data set: the size and the shape of the staging tables
with ratings as (
    select * from stg_ratings
),

counted as (
    select
        count(*) as n_ratings,
        min(rated_at) as began_at,
        max(rated_at) as ended_at,
        count(distinct rating) as n_values,
        min(rating) as lowest,
        max(rating) as highest,
        count(*) filter (mod(rated_at, 86400) = 0) as n_at_midnight
    from ratings
),

by_user as (
    select
        user_id,
        count(*) as n_ratings,
        count(distinct rated_at) as n_times
    from ratings
    group by user_id
),

users as (
    select
        count(*) as n_users,
        quantile_cont(n_ratings, 0.5) as median_of_user,
        max(n_ratings) as max_of_user,
        sum(n_times - 1)::bigint as n_steps
    from by_user
),

by_item as (
    select
        item_id,
        count(*) as n_ratings
    from ratings
    group by item_id
),

rated as (
    select
        count(*) as n_rated_items,
        max(n_ratings) as max_of_item
    from by_item
),

items as (
    select count(*) as n_items
    from stg_items
),

by_second as (
    select count(*) as n_ratings
    from ratings
    group by user_id, rated_at
),

ties as (
    select coalesce(sum(n_ratings) filter (n_ratings > 1), 0)::bigint as n_tied
    from by_second
),

by_minute as (
    select
        user_id,
        count(*) as n_ratings
    from ratings
    group by user_id, rated_at // 60
),

fast as (
    select user_id
    from by_minute
    where n_ratings > $fast
    group by user_id
),

robots as (
    select
        count(*) as n_fast_users,
        coalesce(sum(by_user.n_ratings), 0)::bigint as n_fast
    from by_user
    semi join fast using (user_id)
),

profile as (
    select
        users.*,
        items.*,
        rated.*,
        counted.*,
        ties.*,
        robots.*
    from users
    cross join items
    cross join rated
    cross join counted
    cross join ties
    cross join robots
)

select * from profile
