-- of several ratings of an item by a user the latest counts, of one second the highest
with ratings as (
    select
        rowid as row_id,
        *
    from stg_ratings
),

repeated as (
    select
        user_id,
        item_id
    from ratings
    group by user_id, item_id
    having count(*) > 1
),

placed as (
    select
        ratings.row_id,
        row_number() over (
            partition by ratings.user_id, ratings.item_id
            order by ratings.rated_at desc, ratings.rating desc, ratings.row_id desc
        ) as place
    from ratings
    semi join repeated
        on
            ratings.user_id = repeated.user_id
            and ratings.item_id = repeated.item_id
),

superseded as (
    select row_id
    from placed
    where place > 1
)

select * from superseded
