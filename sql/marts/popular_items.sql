-- one row per rank: the $top_n eligible films with the most ratings before the cutoff
with counts as (
    select int_item_counts.*
    from int_item_counts
    inner join films using (item_id)
    where films.is_eligible
),

ranked as (
    select
        item_id,
        n_ratings as score,
        row_number() over (order by n_ratings desc, item_id asc) as rank
    from counts
),

popular as (
    select *
    from ranked
    where rank <= $top_n
    order by rank
)

select * from popular
