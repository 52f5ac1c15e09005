-- one row per item that linear models know: the 2000 most rated, if by five users
with counts as (
    select * from int_item_counts
),

ranked as (
    select
        item_id,
        n_ratings,
        row_number() over (order by n_ratings desc, item_id asc) as popularity_rank
    from counts
),

-- their matrices have a row and a column an item: they would grow with its square
known as (
    select
        item_id,
        n_ratings
    from ranked
    where popularity_rank <= 2000 and n_ratings >= 5
    order by item_id
)

select * from known
