-- one row per interaction of own data
with ratings as (
    select
        user_key,
        item_key,
        -- on the scale of five stars, whatever the scale of the source
        if(rating is null, 5, greatest(rating * (5 / $highest), 0.5)) as rating,
        rated_at
    from typed_ratings
),

users as (
    select * from stg_users
),

items as (
    select * from stg_items
),

named as (
    select
        users.user_id,
        items.item_id,
        ratings.rating,
        ratings.rated_at
    from ratings
    inner join users using (user_key)
    inner join items using (item_key)
)

select * from named
