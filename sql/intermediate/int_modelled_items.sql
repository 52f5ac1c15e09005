-- one row per item that linear models know: the 2000 most rated, if by five teachers
with counts as (
    select * from int_item_counts
),

-- their matrices have a row and a column an item: they would grow with its square
known as (
    select
        item_id,
        n_sampled as n_ratings
    from counts
    where popularity_rank <= 2000 and n_sampled >= 5
    order by item_id
)

select * from known
