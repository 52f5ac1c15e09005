-- one row per (item_id, audience): how much more often an audience rates an item than
-- all users do
with history as (
    select * from int_history
),

users as (
    select * from stg_users
),

by_audience as (
    select
        history.item_id,
        unnest([
            users.gender || users.age // 15,
            users.occupation
        ]) as audience
    from history
    inner join users using (user_id)
),

counted as (
    select
        item_id,
        audience,
        count(*) as n_ratings
    from by_audience
    group by item_id, audience
),

audiences as (
    select
        audience,
        sum(n_ratings) as n_ratings
    from counted
    group by audience
),

items as (
    select
        item_id,
        count(*) / sum(count(*)) over () as share
    from history
    group by item_id
),

lifted as (
    select
        counted.item_id,
        counted.audience,
        -- a prior of five ratings keeps small audiences close to 1
        (counted.n_ratings + 5 * items.share)
        / (audiences.n_ratings * items.share + 5) as lift
    from counted
    inner join audiences using (audience)
    inner join items using (item_id)
)

select * from lifted
