INSERT INTO ads (id, seller_id, title, category, price_cents, latitude, longitude) VALUES
    (1, 1, 'Touring bicycle, 28 inch', 'bicycles', 18000, 52.5206, 13.4098),
    (2, 2, 'Oak writing desk', 'furniture', 9500, 52.5163, 13.3777),
    (3, 3, 'Record player with 30 records', 'music', 12000, 52.4990, 13.4030),
    (4, 1, 'Child seat for a bicycle', 'bicycles', 3500, 52.5310, 13.3847),
    (5, 4, 'Enamel stockpot, 10 litres', 'kitchen', 1800, 52.4862, 13.4250),
    (6, 2, 'Bookshelf, 2 m', 'furniture', 4000, 52.5450, 13.4110),
    (7, 5, 'Acoustic guitar', 'music', 7500, 52.3989, 13.0657),
    (8, 5, 'Garden bench, needs paint', 'garden', 2500, 52.4010, 13.0490),
    (9, 6, 'Rowing boat with oars', 'boats', 45000, 53.5511, 9.9937),
    (10, 3, 'Typewriter, portable', 'office', 6000, 52.5075, 13.3903);

UPDATE ad_numbers SET next_id = 11;
