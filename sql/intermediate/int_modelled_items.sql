-- one row per item that the linear models cover: the 2000 most rated ones, and up to
-- 1000 more until they hold 99 of 100 ratings; of those, the ones that at least five
-- co-occurrence users rated
with counts as (
    select * from int_item_counts
),

summed as (
    select
        item_id,
        n_sampled,
        popularity_rank,
        sum(n_ratings) over (
            order by popularity_rank asc, item_id asc
        ) - n_ratings as n_above,
        sum(n_ratings) over () as n_all
    from counts
),

-- the models' matrices grow with the square of the number of items, the time to solve
-- them with its cube
modelled as (
    select
        item_id,
        n_sampled as n_ratings
    from summed
    where
        n_sampled >= 5
        and (
            popularity_rank <= 2000
            or (popularity_rank <= 3000 and n_above < 0.99 * n_all)
        )
    order by item_id
)

select * from modelled
