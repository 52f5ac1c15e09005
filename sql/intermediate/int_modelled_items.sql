-- one row per item that the linear models cover: the 2000 most rated ones, if at least
-- five co-occurrence users rated them
with counts as (
    select * from int_item_counts
),

-- the models' matrices grow with the square of the number of items
modelled as (
    select
        item_id,
        n_sampled as n_ratings
    from counts
    where popularity_rank <= 2000 and n_sampled >= 5
    order by item_id
)

select * from modelled
